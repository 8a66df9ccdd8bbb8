"""Lumipic, a small picture service: the application that policyguard's demo runs.

Start reading at `lumipic.app`; `lumipic.demo` drives it and prints what happened.
"""
