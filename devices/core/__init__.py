"""What every device stands on: PV data classes, mapping, scanning, link health."""
