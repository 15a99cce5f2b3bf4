"""The gateway to upstreams, as the operator's file has them; what they cost goes into the store."""

from __future__ import annotations

import logging

from tailor.inference.upstreams import Gateway, Spent, read_upstreams, upstreams_file
from tailor.store import ModelUse, Store

log = logging.getLogger("tailor.server")


def open_gateway(store: Store) -> Gateway:
    """The upstreams of this home; raises InvalidRequest when the file is not as it should be."""

    def record(tenant: str, spent: Spent) -> None:
        store.usage.record(
            tenant,
            ModelUse(
                model=spent.model,
                requests=1,
                prompt_tokens=spent.prompt_tokens,
                completion_tokens=spent.completion_tokens,
                cached_tokens=spent.cached_tokens,
                nanodollars=spent.nanodollars,
            ),
        )

    upstreams = read_upstreams(upstreams_file(store.home))
    for upstream in upstreams:
        if upstream.needs_key:
            log.warning("upstream %s: the variable %s holds no key", upstream.name, upstream.key_env)
    return Gateway(upstreams, record=record)
