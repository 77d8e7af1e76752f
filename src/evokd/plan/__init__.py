"""Memory, disk, time and cost of a study, before an hour is spent; needs no torch."""
