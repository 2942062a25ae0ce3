"""Pure functions on arrays: distances, agreements, similarities, intervals."""
