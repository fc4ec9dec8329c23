"""What joins the steps: ``gateway/launch.py`` reads as the nine, these modules carry them out.

Each file is one stage of a launch's life. They alone import several steps; steps never import each
other, and nothing here is imported by a step.
"""
