"""Measured choices: a bounded search over strategies and their settings, on the user's own device and sizes.

In: a compiled program and its inputs. Out: the same program, with the strategies that were the fastest.

    wanted      whether to
    kernels     what there is to measure in a program
    search      which candidate is the fastest: pure, with a clock that tests replace
    trials      candidates of one fused kernel run beside the choice of the cost model, on real data
    copy_speed  how fast the device copies: nothing that moves as many bytes is faster
    memory      what was found, on disk
    tuner       all of that for a compiled program
    tuned       tuned programs, ready to run: from disk, or else by the tuner
    choices     the tuned programs of each class of sizes
    function    compiled functions, tuned at the first call with sizes of a class
    step        training steps, likewise
"""
