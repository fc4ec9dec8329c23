"""A process of code that we did not write, where no secret of ours can be seen.

``spec`` says what the code may see and use, ``process`` starts and ends it, ``enter`` builds the
walls from inside, ``layers`` tells which walls this machine can build, ``guest`` puts the Luigi
guest (``gateway/guest``) behind them.

Nothing here knows of launches, graphs or runs.
"""
