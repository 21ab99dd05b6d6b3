"""A scenario in real time: on a real server, with workers in processes of their own."""
