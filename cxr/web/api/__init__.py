"""What programs call: which endpoints there are, and what they take."""
