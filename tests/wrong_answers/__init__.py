"""Wrong answers to the exercises, as learners write them: one file a notebook, each a dict `WRONG`.

    WRONG = {"exercise": [(attempt, "words that the check's message must hold"), ...]}
"""
