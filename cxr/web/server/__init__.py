"""The way in from the network: which requests are taken, from whom, how much, and what is kept for how long."""
