"""Linear SVMs on the frozen features of each layer."""
