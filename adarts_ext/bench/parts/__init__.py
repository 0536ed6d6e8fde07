"""What ``adarts bench`` measures, a module a part; each gives groups of arms."""
