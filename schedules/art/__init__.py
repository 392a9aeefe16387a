"""ART: schedules learned for one model (Huang, Tang, Zhou 2026, "ART for Diffusion Sampling: A Reinforcement
Learning Approach to Timestep Schedule", arXiv 2601.18681)."""
