"""What is seen: tabs, forms, panels and their events."""
