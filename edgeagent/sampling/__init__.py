"""What raw data to keep for training, and why: policies, one a file, under one byte budget.

A policy file has three names:

    Options                                                # its keys in the YAML (config/quantities.py)
    PRIORITY: Priority                                     # what a window that it kept is worth
    def probability(options, prediction) -> float: ...     # with which it keeps the window: 0 to 1

Whoever trains on the samples must know how likely each was to be kept, or the model learns the policy's taste.
So the probability that is written down with a sample is that of being kept by *any* policy:

    probability = 1 - (1 - p1) (1 - p2) ...

over all policies, whichever of them drew it, since their draws are independent. A sum over kept windows of
x / probability (the Horvitz-Thompson estimator) is then an unbiased estimate of the sum of x over all windows.
The budget alone can bend that: a window that was drawn and did not fit is refused, and counted together with its
weight, so that kept and refused weights still estimate the number of all windows (`Sampler.counters`).
"""
