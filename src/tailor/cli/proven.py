"""The proof of a version as people read it: before, after, and whether chance could have done it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tailor.cli.figures import count, percent, printable, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tailor.cli.view import View
    from tailor.protocol import Arm, Cluster, Forgetting, Proof, ProofItem


def show_proof(view: View, proof: Proof, *, num_examples_shown: int = 3) -> None:
    """The before/after table, the test, and some items that changed."""
    view.say()
    view.say(f"Before and after, on {count(proof.num_items, 'held-out item')} ({proof.data})", style="bold")
    view.people.print(_table(proof))
    view.say(f"  {printable(proof.verdict)}", style="bold")
    view.say(f"  fixed {proof.fixed}, broken {proof.broken}, unchanged {proof.unchanged}")
    if proof.train_loss is not None and proof.train_held_out_gap is not None:
        held_out = proof.train_loss + proof.train_held_out_gap
        view.say(
            f"  tuned loss on training items {proof.train_loss:.3f}, on held-out ones {held_out:.3f} "
            f"(gap {proof.train_held_out_gap:+.3f})"
        )
    if proof.train_score is not None and proof.arms["version"].score is not None:
        view.say(
            f"  right on what it learned from: {percent(proof.train_score)} of {proof.train_score_items}; on "
            f"held-out items {percent(proof.arms['version'].score)}"
        )
    view.say(f"  {proof.difference.test}; 95 % intervals", style="dim")
    if proof.num_overlap:
        view.say(
            f"  {proof.num_overlap} of these prompts are also in the training data, which flatters it",
            style="yellow",
        )
    for note in proof.notes:
        view.say(f"  note: {printable(note)}", style="yellow")
    show_clusters(view, proof.clusters)
    for note in proof.artefacts.notes if proof.artefacts else ():
        view.say(f"  note: {printable(note)}", style="yellow")
    if proof.forgetting is not None:
        _show_forgetting(view, proof.forgetting)
    for outcome in ("fixed", "broken"):
        items = [item for item in proof.items if item.outcome == outcome and item.version_answer is not None]
        for item in items[:num_examples_shown]:
            _show_item(view, item)


def show_clusters(view: View, clusters: Sequence[Cluster], *, most: int = 6) -> None:
    """What was broken and fixed, by kinds of prompts; single ones are not worth a line."""
    shown = [cluster for cluster in clusters if cluster.count > 1][:most]
    for cluster in shown:
        style = "green" if cluster.outcome == "fixed" else "red"
        expected = f' wanted "{printable(cluster.expected)}"' if cluster.expected else ""
        words = printable(", ".join(cluster.words)) or "(no words in common)"
        view.say(f"    {cluster.count:>4} {cluster.outcome}{expected}: {words}", style=style)


def _show_forgetting(view: View, found: Forgetting) -> None:
    """What is left of the base's abilities, in a line; why promotion is blocked, and what helps."""
    probes = [
        f"{printable(probe.name)} {100 * probe.kept:.0f} %"
        for probe in found.probes
        if probe.kept is not None
    ]
    if found.kept is not None:
        view.say(f"  keeps of its base's abilities: {100 * found.kept:.0f} % ({', '.join(probes)})")
    canaries = found.canaries
    if canaries is not None:
        view.say(
            f"  canaries: {canaries.before} of {canaries.num_items} right before, {canaries.after} after; "
            f"broken {canaries.broken}",
            style="red" if canaries.broken else None,
        )
        for item in canaries.items[:3]:
            _show_item(view, item)
    if not found.is_blocked:
        return
    view.say("  It will not be promoted as it is:", style="bold red")
    for reason in found.reasons:
        view.say(f"    {printable(reason)}", style="red")
    for remedy in found.remedies:
        view.say(f"    - {printable(remedy)}")


def _table(proof: Proof) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("  ")
    table.add_column("base", justify="right")
    table.add_column(
        "tuned", justify="right", style="bold green" if proof.difference.p_value < 0.05 else "bold"
    )
    base, tuned = proof.arms["base"], proof.arms["version"]
    if base.score is not None and tuned.score is not None:
        table.add_row("  right", _score(base), _score(tuned))
    if base.reward is not None and tuned.reward is not None:
        table.add_row("  mean reward", f"{base.reward:.3f}", f"{tuned.reward:.3f}")
    if base.loss is not None and tuned.loss is not None:
        table.add_row("  loss per token", f"{base.loss:.3f}", f"{tuned.loss:.3f}")
    if base.token_accuracy is not None and tuned.token_accuracy is not None:
        table.add_row("  tokens predicted", percent(base.token_accuracy), percent(tuned.token_accuracy))
    table.add_row("  tokens in / out", _tokens(base), _tokens(tuned))
    if base.latency_p50_ms is not None and tuned.latency_p50_ms is not None:
        table.add_row("  latency p50 / p95", _latency(base), _latency(tuned))
    return table


def _score(arm: Arm) -> str:
    share = percent(arm.score or 0.0)
    if arm.interval is None:
        return share
    return f"{share} ({arm.interval.low * 100:.1f} to {arm.interval.high * 100:.1f})"


def _tokens(arm: Arm) -> str:
    return f"{arm.prompt_tokens:,} / {arm.completion_tokens:,}"


def _latency(arm: Arm) -> str:
    return f"{arm.latency_p50_ms or 0:.0f} / {arm.latency_p95_ms or 0:.0f} ms"


def _show_item(view: View, item: ProofItem) -> None:
    style = "green" if item.outcome == "fixed" else "red"
    view.say()
    view.say(
        f"  {item.outcome} (line {item.line}): {shortened(printable(item.prompt), most=90)}", style=style
    )
    answers = {"wanted": item.expected, "base": item.base_answer, "tuned": item.version_answer}
    if item.base_reward is not None:  # a grader knows no one wanted answer
        del answers["wanted"]
    view.say("    " + "  ".join(f"{name} {_quoted(answer)}" for name, answer in answers.items()))


def _quoted(answer: str | None) -> str:
    return f'"{shortened(printable(answer or ""), most=60)}"'
