"""What a NAT instance runs: take the zone's way out at boot, then forward each slot's UDP port to its holder.

Python of the distribution, with its boto3 (python3-boto3) and nothing of the application.
"""
