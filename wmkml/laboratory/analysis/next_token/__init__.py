"""What a model expects next, over a corpus of any size: entropies, probabilities of every rank, perplexity.

`documents.py` reads, `windows.py` cuts, `scoring.py` asks the model, `sums.py` keeps what is needed of it in constant
memory, `measuring.py` wires them and resumes, `results.py` makes numbers of the sums; `tables.py` and `figures.py` show.
"""
