"""What time does to a placement: traces replayed in windows, under policies that move experts."""
