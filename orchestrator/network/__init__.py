"""What both clients share of the network: sessions, TLS, sockets, the event loop."""
