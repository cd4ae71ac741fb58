"""The commands of ``parkmesh`` that run on a server, and the jobs behind them."""
