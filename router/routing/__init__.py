"""Where one request goes: pure functions of an Ask, a Fleet and the Rules.

fleet     all targets at one moment; off: why an engine takes nothing; pace: what is learned of a target; seats: where
          in it the targets of a model stand
directed  what routes and splits make of the Ask; condition: when they hold
policy    choose: everything below, in this order, to one Decision
  groups    the targets of its models, and of those that stand in for them (chain)
  filters   who may and can; tokens: whose context it fits
  ranking   the best first: the order of its terms, then its strategy (scorers, affinity)
  passing   who is passed over now: money, health, limits of providers
  lineup    who is left, one after the other: nobody is ranked before somebody looks
  forecast  how long a wait would be, roughly: for copies, stand-ins and explanations
  reasons   why there; refusals: what the client hears if there is nowhere
"""
