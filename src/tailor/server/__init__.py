"""The HTTP server: routes that translate between OpenAI's API and the rooms below."""

from tailor.server.app import create_app
from tailor.server.config import ServerConfig
from tailor.server.run import EmbeddedServer, serve

__all__ = ["EmbeddedServer", "ServerConfig", "create_app", "serve"]
