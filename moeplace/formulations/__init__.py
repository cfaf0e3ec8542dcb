"""How a placement is found: solvers by name, exact formulations, proven bounds."""
