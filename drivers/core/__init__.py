"""What every driver stands on: links, framing, the port, parameters, units, errors."""
