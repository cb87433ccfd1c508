"""Where the chain meets the world: sockets, files, clocks, and gvm itself."""
