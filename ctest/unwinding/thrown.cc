// SPDX-License-Identifier: MIT OR Apache-2.0
#include "thrown.h"

#include <atomic>
#include <exception>
#include <unistd.h>

namespace {

std::atomic<int> living{0};

struct Thrown {
    Thrown() { ++living; }
    Thrown(const Thrown &) { ++living; }
    ~Thrown() { --living; }
};

struct Passed {
    bool &passed;
    ~Passed() { passed = true; }
};

int status_of_terminate;

} // namespace

void throw_it() { throw Thrown(); }

bool threw_it(void (*function)(void *), void *argument)
{
    bool passed = false;
    try {
        Passed passes{passed};
        function(argument);
    } catch (const Thrown &) {
        return passed;
    }
    return false;
}

int uncaught() { return std::uncaught_exceptions(); }

int alive() { return living; }

void terminate_with(int status)
{
    status_of_terminate = status;
    std::set_terminate([] { _exit(status_of_terminate); });
}
