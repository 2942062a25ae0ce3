"""What is asked for and what comes back, as frozen records; no torch and no gradio, so that all rooms can use them."""
