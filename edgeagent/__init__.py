"""edgeagent: sensor -> window -> model -> decision -> outbox -> upstream, on single-board computers."""

__version__ = "0.1.0"
