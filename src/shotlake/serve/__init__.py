"""The service: one replica holds the current index of a lake and answers queries over HTTP."""
