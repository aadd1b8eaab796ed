"""The study of `elites demo`: make the digits prior draw a clear 3.

A U-Net of 0.4 M parameters draws 8x8 digits of any class. The reward is the margin of class 3 under one classifier;
the judge is the same margin under another one, trained on other images, that the search never sees.
"""

import elites as el

prior = el.priors.digits()
digits = el.rewards.digits
reward = el.rewards.Margin(digits.classifier("reward"), label=3)
judge = el.rewards.Margin(digits.classifier("judge"), label=3)
distance = el.DistanceToData(digits.images("prior")[0], digits.images("held_out")[0])

target = el.Target(prior, reward, walk=el.Plain(steps=10))
method = el.Elites()
budget = el.Budget(nfe=10_000)
