"""What is asked of the model: the table of all jobs, and the generators of states that it runs."""
