"""The worker: a service without a port that claims rounds from the owner, trains them and hands their adapters in."""
