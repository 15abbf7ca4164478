"""A class: assignments from the notebooks, marks from submissions, quizzes, a table of progress.

`apps.class_commands` is its command line. Nothing here is needed to learn alone.
"""
