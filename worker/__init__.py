"""Stockbell: from an inventory event to a recorded mail. Start reading at `deliver`."""
