"""Hostile mail, and a model that obeys all of it: does the code stop it?"""
