"""The paragraphs of docs/scaling.md: what its tables mean. Numbers stand in the tables, not here."""

ABOUT = (
    "Counts, rounds and bytes were measured: on {model}, alone and over two real processes. Seconds on "
    "several GPUs were **not** measured. They come from a simulation with stated latencies, which is checked below "
    "against the two processes; a model's call time is marked assumed until `make bench-gpu` has been run. How many "
    "runs and trials a fit makes depends on the model: another one has another count of rounds, of the same kind."
)

BOUNDS = (
    "A *round* is one batch that must be answered before the next can be asked; a fit or a run cannot take less "
    "than its rounds times one model call, whatever the number of devices. The limit is what no number of devices "
    "exceeds, with free messages and no own work: on a full device (a further sample in a batch takes 90 % of a "
    "call) and on an idle one (30 %), where one device already has most of the gain. *Merged*: solves that do not "
    "need each other's answers (a pilot round's candidates, the groups of the error propagation, the two "
    "references) in one batch, which the fit does not do: it runs them one after another.\n\n"
    "1. **The critical path**: the references march node by node, each trial runs its steps one by one. More "
    "devices shorten a round, never their number.\n"
    "2. **Trajectories**: a round holds at most the trajectories at hand, and the pilot's early rounds one to four. "
    "Devices beyond that idle. More trajectories would keep them busy, but cost as many evaluations more.\n"
    "3. **Dealing**: shares are ceil(samples / devices), so 12 samples on 8 devices keep 6 busy, no faster than 6.\n"
    "4. **Rank 0's own work**: the search on the surrogate and the sums run once, on one process.\n"
    "5. **Loading**: every device holds the whole model; nothing here divides a model that is too large for one."
)

PAYS = (
    "A schedule is fitted once and used for ever: one device overnight is as good as eight in minutes, unless many "
    "models are to be fitted, and then one whole fit on each device scales without any message. Parallel midpoint "
    "needs devices that would otherwise idle: several pictures at once, one on each device, use them fully and lose "
    "nothing.\n\n"
    "What would move the limit most is not a faster network but fewer rounds: merging independent solves (dotted "
    "lines in the picture) also helps a single device that a batch does not fill. It was not built; its memory "
    "would be that of larger batches, and a merged batch changes the last digits of single-precision answers."
)

FITS = (
    "Recorded where the fit asks its model ({model}, Euler), alone. A solve is a chain of rounds that need each other.",
    "The fit's own work, outside the model, grows with the size of a sample: processor seconds on samples of 1,024 "
    "and of 16,384 numbers (SD 1.5's at 512 px), the model being a formula (three modes), in double precision on "
    "one CPU core. On a GPU the sums run there; a refined fit's search stays on the CPU.",
)

CHECKS = (
    "Rounds that do not depend on the model's answers are foreseen in closed form (references and error "
    "propagation); searches and trials depend on what is measured and are taken from the fit alone.",
    "Collectives and bytes that a fit over ranks really made (counted inside torch.distributed on rank 0), against "
    "what ranks.py's rules say of the rounds of a *separate* fit on one process.",
    "Seconds: from the cost of a batch and of a message, timed by themselves, and the fit's own work, timed alone. "
    "Processor seconds are those of rank 0's thread, and are what the simulation is given; the clock also counts "
    "other programs, for the machine has few cores and was not idle. Read the factors as such: on one "
    "process only the model's part is foreseen, and what messages cost rank 0's processor is not.",
)

SIMULATION = (
    "Each device has its clock. A batch is announced and sent to all, every device evaluates its share, the answers "
    "are gathered, and nobody goes on before that. Reading the weights and the fit's own work (as measured here, on "
    "samples of 1,024 numbers) are in every number. *Shared*: the part of a call that a further sample in the batch "
    "does not take again; 10 % is a device that one picture fills, 70 % one that it does not."
)

SAMPLING = (
    "Rounds are known beforehand: 1 + K (N - 1) + 1 for N steps and warm starts, with R samples in all but two. "
    "Seen on the tiny flow checkpoint:",
    "Seconds by number of devices. The first device sends the others their levels and collects the answers, one "
    "message after another, within one machine: ComfyUI's MultiGPU deals copies of the prompts out by threads of "
    "one process, and nothing of ours samples one picture over several machines. At most R devices have work (2 R "
    "where guidance makes two prompts of a level and those are dealt singly; not simulated). Even dealing is "
    "assumed. Bound by R, by the two rounds with one sample, and by K: sweeps wait for each other. NVLink gives "
    "PCIe's seconds to two digits.",
    "Against the best sequential solver, at equal error. The settings are those with the fewest rounds that come "
    "within 5 % of DDIM-100's error in [the sampler benchmark](samplers-benchmark.md), on exact mixtures and tiny "
    "checkpoints: on other models they may differ. Seconds by number of devices on PCIe:",
)
