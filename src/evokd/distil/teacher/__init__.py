"""The teacher's word: live, or from files."""
