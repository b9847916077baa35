"""Managers: objects that many processes use by proxies, in the arena or in a server."""
