"""One module an engine; each is run by the interpreter of its own virtual environment."""
