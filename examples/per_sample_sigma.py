"""Labels of different reliability: give every sample its own standard deviation.

Run: python examples/per_sample_sigma.py
"""

import torch
from torch import nn

from dldl_fast import DLDLv2Loss
from dldl_fast.functional import expectation
from dldl_fast.metrics import e_error, mae

torch.manual_seed(0)

# Apparent ages: the mean guess of some people, and how far their guesses lie apart.
features = torch.randn(1500, 4)
true_age = 45 + 15 * torch.tanh(features[:, 0] + 0.5 * features[:, 1])
sigma = 1 + 7 * torch.rand(1500)
guessed_age = (true_age + sigma * torch.randn(1500)).clamp(0, 100)

criterion = DLDLv2Loss(label_min=0, label_max=100)
model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 101))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for _ in range(40):
    for batch in torch.randperm(1200).split(50):
        logits = model(features[batch])
        # sigma widens the target distribution; weight makes uncertain labels count less.
        loss = criterion(logits, guessed_age[batch], sigma[batch], weight=1 / sigma[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

with torch.no_grad():
    predicted = expectation(model(features[1200:]), criterion.labels)
print(f"MAE against the true age: {mae(predicted, true_age[1200:]):.2f} years")
guesses = guessed_age[1200:]
print(f"MAE against the guesses: {mae(predicted, guesses):.2f} years")
print(f"e-error against the guesses: {e_error(predicted, guesses, sigma[1200:]):.3f}")
