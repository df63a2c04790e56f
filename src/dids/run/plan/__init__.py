"""The plan before the bill: time, memory and disk of every stage, from a short calibration.

`volumes` reads what there is, `rehearsal` runs the stages on a small part of it in a temporary
folder, `costs` carries what that took to the whole run, `table` prints it.
"""
