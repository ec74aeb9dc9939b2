"""The tables. What of them needs no ORM is beside this folder, in plain Python."""
