-- wrk -s closed_loop.lua URL -- BODY...
-- Posts the files in turn, as they are, and at the end writes one line of JSON with every latency.

local requests_made = {}
local turn = 0

function init(paths)
  for _, path in ipairs(paths) do
    local file = assert(io.open(path, "rb"))
    requests_made[#requests_made + 1] = wrk.format("POST", nil, nil, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn % #requests_made + 1
  return requests_made[turn]
end

function done(summary, latency)
  local took = {}
  for i = 1, #latency do
    local microseconds, count = latency(i)
    took[i] = string.format("[%d,%d]", microseconds, count)
  end
  local errors = summary.errors
  io.write(string.format('\nresult {"requests": %d, "duration_us": %d, "refused": %d, "broken": %d, "took_us": [%s]}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, table.concat(took, ",")))
end
