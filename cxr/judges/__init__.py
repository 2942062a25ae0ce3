"""Small networks that read labels off radiographs: their weights, what they are worth, and the page's receipts."""
