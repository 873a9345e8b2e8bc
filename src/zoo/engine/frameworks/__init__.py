"""With what a model is made: one room for each framework; none knows another, and importing this loads none."""
