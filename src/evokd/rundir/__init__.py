"""The run folder: whole files, stages that are done or not, what is kept, one run at a time."""
