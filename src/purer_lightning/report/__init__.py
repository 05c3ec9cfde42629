"""Pictures and tables from what a run has left in its folder."""
