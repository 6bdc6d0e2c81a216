"""The network layer that both clients share: sessions, TLS, sockets, the event loop."""
