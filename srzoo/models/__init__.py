"""One architecture family a file, each ending in its record `ARCH`; nothing else lives here."""
