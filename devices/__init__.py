"""Devices: typed values to PVs, with no knowledge of bytes, terminators or sockets."""
