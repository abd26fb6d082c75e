"""The worker: a service without a port, which claims rounds from the owner, trains them and hands their adapters in.

Knows the owner's messages and the training library; knows no visitor, no page and nothing of serving.
"""
