"""Hallmark from Python: the functions of `import hallmark`, typed, and at home in a notebook.

They do what the commands of the same names do, in the same checkout and state folder, and raise `hallmark.errors.HallmarkError` where those
fail. What they give shows itself as a table in a notebook.
"""
